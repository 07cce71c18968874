import { fingerprintOf, type Identity, runName } from "../../launcher/identity.ts";

const identity: Identity = {
  pipeline: "verifiable",
  trainerConfig: { training: { batch_size: 2, seed: 42 }, data: { train: "humaneval/processed/train.jsonl" } },
  models: { "tiny-mtp": "a".repeat(64) },
  datasets: { humaneval: "b".repeat(64) },
  gpus: 2,
  needs: { critic: "c".repeat(64) },
  resultsVersion: "1",
};

test("a fixed identity keeps its fingerprint: another one would train every run of every user again", () => {
  expect(fingerprintOf(identity)).toBe("93ead0ffc3c8aeae00fd9fc27971ee28c17bf544d783d1c028cca1f3c8d59fcb");
});

test("the order of keys does not matter, at any depth; the order of a list does", () => {
  const { gpus, needs, ...rest } = identity;
  const shuffled = {
    needs,
    gpus,
    ...rest,
    trainerConfig: { data: { train: "humaneval/processed/train.jsonl" }, training: { seed: 42, batch_size: 2 } },
  };
  expect(Object.keys(shuffled)).not.toEqual(Object.keys(identity));
  expect(fingerprintOf(shuffled)).toBe(fingerprintOf(identity));
  const weighted = (head_weights: number[]) =>
    fingerprintOf({ ...identity, trainerConfig: { loss: { head_weights } } });
  expect(weighted([1, 2])).not.toBe(weighted([2, 1]));
});

test("a field that is not set is the same as one that is absent", () => {
  expect(fingerprintOf({ ...identity, criticCheckpoint: undefined, rerun: undefined })).toBe(fingerprintOf(identity));
});

test("each field of the identity changes the fingerprint, and no two changes give the same", () => {
  const changes: Partial<Identity>[] = [
    { pipeline: "baseline" },
    { trainerConfig: { ...identity.trainerConfig, training: { batch_size: 2, seed: 43 } } },
    { trainerConfig: { ...identity.trainerConfig, training: { batch_size: 2, seed: "42" } } },
    { models: { "tiny-mtp": "d".repeat(64) } },
    { models: { "tiny-mtq": "a".repeat(64) } },
    { models: { ...identity.models, "tiny-reference": "a".repeat(64) } },
    { datasets: { humaneval: "a".repeat(64) } },
    { gpus: 4 },
    { needs: { critic: "e".repeat(64) } },
    { needs: {} },
    { criticCheckpoint: "elsewhere" },
    { resultsVersion: "2" },
    { rerun: "1" },
    { rerun: "" },
  ];
  const fingerprints = [identity, ...changes.map((change) => ({ ...identity, ...change }))].map(fingerprintOf);
  expect(new Set(fingerprints).size).toBe(changes.length + 1);
  for (const fingerprint of fingerprints) expect(fingerprint).toMatch(/^[0-9a-f]{64}$/);
});

test("a run's name is made of stack, pipeline and the first 8 characters", () => {
  expect(runName("minitest", "critic", "0123456789abcdef")).toBe("wmtp-minitest-critic-01234567");
});
