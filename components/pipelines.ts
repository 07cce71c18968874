/**
 * The five pipelines as data: everything the stack needs to know of a pipeline without running it.
 * What a pipeline computes is the trainer's business (`trainer/configs/<pipeline>/<pipeline>.yaml`).
 */

/** Numbers of GPUs a run may ask for: those for which a preset exists. On the local target they count worker processes. */
export const GPU_COUNTS = [1, 2, 4] as const;
export type Gpus = (typeof GPU_COUNTS)[number];

/** Roles a model can have in a run; the names of the keys under `wmtp:models`. */
export type ModelRole = "base" | "reference" | "criticTrunk";

export interface Pipeline {
  /** Name of the MLflow experiment below `tracking.experiment`. */
  readonly experiment: string;
  /** Models the run reads, so that it fetches these and no others. */
  readonly models: readonly ModelRole[];
  /** Pipelines whose checkpoint this one reads; they complete first. */
  readonly needs: readonly PipelineName[];
  /** GPUs when the stack file names none. */
  readonly defaultGpus: Gpus;
  /** One line for tables and the description of a run. */
  readonly summary: string;
}

/** In the order of the whole sequence: a pipeline comes after those it needs. */
export const PIPELINE_NAMES = ["critic", "verifiable", "baseline", "rho1", "ntp"] as const;
export type PipelineName = (typeof PIPELINE_NAMES)[number];

export const PIPELINES: Readonly<Record<PipelineName, Pipeline>> = {
  critic: {
    experiment: "critic-pretrain",
    models: ["criticTrunk"],
    needs: [],
    defaultGpus: 4,
    summary: "value head that predicts the verifiable reward",
  },
  verifiable: {
    experiment: "verifiable-wmtp",
    models: ["base", "criticTrunk"],
    needs: ["critic"],
    defaultGpus: 4,
    summary: "multi-token prediction, tokens weighted by the critic's TD errors",
  },
  baseline: {
    experiment: "baseline-mtp",
    models: ["base"],
    needs: [],
    defaultGpus: 4,
    summary: "multi-token prediction, uniform weights",
  },
  rho1: {
    experiment: "rho1-wmtp",
    models: ["base", "reference"],
    needs: [],
    defaultGpus: 4,
    summary: "multi-token prediction on tokens selected by excess loss",
  },
  ntp: {
    experiment: "ntp",
    models: ["base"],
    needs: [],
    defaultGpus: 1,
    summary: "next-token prediction only, the control",
  },
};
