// Adds up the reports of the checks, jest (containers apart) and pytest; the last line it prints is "N passed, N failed".
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

interface Count {
  passed: number;
  failed: number;
  skipped: number;
}

/** A suite whose report is missing, holds no test, or whose runner failed without a failed test counts as one failure. */
export function settle(count: Count | undefined, exit: number): Count {
  if (count === undefined || count.passed + count.failed + count.skipped === 0)
    return { passed: 0, failed: 1, skipped: 0 };
  return exit !== 0 && count.failed === 0 ? { ...count, failed: 1 } : count;
}

export function countJest(report: string): Count {
  const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, numRuntimeErrorTestSuites } =
    JSON.parse(report);
  return {
    passed: numPassedTests,
    failed: numFailedTests + numRuntimeErrorTestSuites,
    skipped: numPendingTests + numTodoTests,
  };
}

export function countJunit(report: string): Count {
  const suite = /<testsuite\s[^>]*>/.exec(report)?.[0] ?? "";
  const attribute = (name: string) => Number(new RegExp(`\\s${name}="(\\d+)"`).exec(suite)?.[1] ?? 0);
  const failed = attribute("failures") + attribute("errors");
  const skipped = attribute("skipped");
  return { passed: Math.max(0, attribute("tests") - failed - skipped), failed, skipped };
}

function suite(folder: string, name: string, report: string, count: (text: string) => Count): Count {
  const exit = Number(readFileSync(join(folder, `${name}.exit`), "utf8"));
  const file = join(folder, report);
  return settle(existsSync(file) ? count(readFileSync(file, "utf8")) : undefined, exit);
}

if (import.meta.main) {
  const folder = process.argv[2] ?? ".";
  const checks = readdirSync(folder)
    .filter((file) => file.endsWith(".check"))
    .map((file) => ({
      name: file.replace(".check", ""),
      ok: readFileSync(join(folder, file), "utf8").trim() === "ok",
    }));
  const counts = {
    checks: {
      passed: checks.filter((check) => check.ok).length,
      failed: checks.filter((check) => !check.ok).length,
      skipped: 0,
    },
    jest: suite(folder, "jest", "jest.json", countJest),
    // Not part of the fast run.
    ...(existsSync(join(folder, "containers.exit"))
      ? { containers: suite(folder, "containers", "containers.json", countJest) }
      : {}),
    pytest: suite(folder, "pytest", "pytest.xml", countJunit),
  };
  for (const { name } of checks.filter((check) => !check.ok))
    console.log(`failed check: ${name} (make check shows it)`);
  for (const [name, count] of Object.entries(counts)) {
    console.log(`${name}: ${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
  }
  const sum = (key: keyof Count) => Object.values(counts).reduce((total, count) => total + count[key], 0);
  // Skipped where everything should run is a hole that nobody sees.
  const strict = process.env.CI === "true";
  if (strict && sum("skipped") > 0) console.log(`${sum("skipped")} skipped tests count as failed, because CI=true`);
  const failed = sum("failed") + (strict ? sum("skipped") : 0);
  console.log(`${sum("passed")} passed, ${failed} failed`);
  process.exitCode = failed > 0 ? 1 : 0;
}
