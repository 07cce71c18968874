/** Words of a plan that its table for a terminal and its Markdown share. */
import { formatMoney } from "./cost.ts";
import { knownCost, NOT_KNOWN, type Plan, type PlanRow, type RunCost } from "./plan.ts";

/** Marks a cost to which something is added that is not known yet. */
const MORE = "+";

/** `576 USD`, `576 USD +` with egress to be added, or `no price`. */
export function costText(cost: RunCost, currency: string): string {
  if (cost.gpus === undefined) return "no price";
  return `${formatMoney(knownCost(cost), currency)}${cost.egress === NOT_KNOWN ? ` ${MORE}` : ""}`;
}

/** `48`, `0.5`, or `0.02` of what is shorter; rounded up, because more is never spent than what is shown. */
export function hoursText(hours: number): string {
  if (hours <= 0) return "0";
  const digits = hours >= 100 ? 0 : hours >= 1 ? 2 - Math.floor(Math.log10(hours)) : 1 - Math.floor(Math.log10(hours));
  const shown = Number(hours.toFixed(digits));
  // What is only a rounding error of the machine above it is no more.
  const enough = shown >= hours * (1 - Number.EPSILON);
  return String(enough ? shown : Number((shown + 10 ** -digits).toFixed(digits)));
}

/** What is said of a run beside its numbers; its changes are told apart. */
export function remarksOf({ effectiveBatch, baseEffectiveBatch }: PlanRow, base: string | undefined): string[] {
  if (baseEffectiveBatch === undefined) return [];
  return [
    `effective batch ${effectiveBatch}, and ${baseEffectiveBatch} in ${base}: the two are not the same training, step by step`,
  ];
}

/** What holds for the stack as a whole, a sentence each. */
export function totalLines(plan: Plan): string[] {
  const { total, currency, unpriced, budget, awsPerMonth, peakGpus, rows, starts } = plan;
  const money = (amount: number) => formatMoney(amount, currency);
  if (total === undefined) return [`worker processes at a time: ${peakGpus} at most; on this machine, nothing to pay`];
  if (rows.length === 0) return monthly(awsPerMonth, money);
  const complete = unpriced.length === 0 && total.egress !== NOT_KNOWN;
  const parts = [
    `GPUs ${money(total.gpus ?? 0)}`,
    `egress of models ${total.egress === NOT_KNOWN ? `(${MORE}) ${NOT_KNOWN}` : money(total.egress)}`,
  ];
  return [
    `${money(knownCost(total))} ${complete ? "at most" : "and more"} (${parts.join(", ")}); GPUs at a time: ${peakGpus} at most`,
    ...(starts === undefined
      ? []
      : [
          starts === 0
            ? "of it, nothing for this update: it starts no training"
            : `of it, ${money(starts)} for what this update starts`,
        ]),
    ...(unpriced.length === 0
      ? []
      : [`no price for ${unpriced.join(", ")}: the sum is without it, until wmtp:cost.perHour names it`]),
    ...(budget === undefined ? [] : [budgetText(total.gpus ?? 0, budget, money)]),
    ...monthly(awsPerMonth, money),
  ];
}

/** Of the GPUs alone, as the policy that holds runs to it. */
function budgetText(gpus: number, budget: number, money: (amount: number) => string): string {
  const [limit, key] = [money(budget), "(wmtp:cost.budget)"];
  return gpus > budget ? `GPUs cost MORE THAN the budget of ${limit} ${key}` : `budget for GPUs: ${limit} ${key}`;
}

function monthly(awsPerMonth: number | undefined, money: (amount: number) => string): string[] {
  return awsPerMonth === undefined
    ? []
    : [`infrastructure on AWS: ${money(awsPerMonth)} a month, without what the bucket holds`];
}
