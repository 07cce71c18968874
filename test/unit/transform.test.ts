/** The transform holes of components. */
import { transform } from "../../components/transform.ts";

interface Args {
  size: number;
  label?: string;
}

test("without a hole everything stays", () => {
  expect(transform<Args>(undefined, "disk", { size: 1 }, { protect: true })).toEqual([
    "disk",
    { size: 1 },
    { protect: true },
  ]);
});

test("arguments are merged over the component's own", () => {
  const [, args] = transform<Args>({ label: "mine" }, "disk", { size: 1, label: "theirs" }, {});
  expect(args).toEqual({ size: 1, label: "mine" });
});

test("a function changes arguments and options, and is told the name", () => {
  const given: Args = { size: 1 };
  const options = { protect: true };
  const [name, args, opts] = transform<Args>(
    (own, ownOpts, called) => {
      own.label = called;
      ownOpts.protect = false;
    },
    "disk",
    given,
    options,
  );
  expect([name, args, opts]).toEqual(["disk", { size: 1, label: "disk" }, { protect: false }]);
  expect([given, options]).toEqual([{ size: 1 }, { protect: true }]);
});
