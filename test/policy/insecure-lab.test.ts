/** The MLflow on EC2 of tutorials is refused, for every reason that there is. */
import { BROKEN, LAB, SETUP } from "./lab.ts";
import { byHand, judge, prod } from "./support.ts";

function found() {
  const root = byHand("pulumi:pulumi:Stack", "wmtp-prod", {});
  return judge([root, ...LAB.map(([type, name, props]) => byHand(type, name, props, { provider: {} }))], prod);
}

test("it is refused with every id, and with no other", () => {
  const ids = new Set(found().violations.map((violation) => violation.split(":")[0]));
  expect([...ids].sort()).toEqual(BROKEN);
});

test("what is said of it repeats nothing of its script and of its policies", () => {
  const said = found().messages.join("\n");
  for (const secret of [
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtn",
    "mlflow:mlflow",
    "PASSWORD 'mlflow'",
    "arn:aws:s3:::mlflow-lab",
  ])
    expect(said).not.toContain(secret);
  for (const line of SETUP.trim().split("\n")) expect(said).not.toContain(line);
});
