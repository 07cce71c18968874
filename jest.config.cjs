// The sources are ES modules that Node runs as they are. Jest runs CommonJS, which mocks and stays simple;
// swc turns one into the other, and `import.meta.dirname` and `import.meta.url` with it.
const { availableParallelism } = require("node:os");

/** @type {import("jest").Config} */
module.exports = {
  testEnvironment: "node",
  // Two also where there are two cores: what takes long here waits, for an engine and for runs.
  maxWorkers: Math.max(2, availableParallelism() - 1),
  testMatch: ["<rootDir>/test/**/*.test.ts"],
  modulePathIgnorePatterns: ["<rootDir>/.tools/", "<rootDir>/.wmtp/", "<rootDir>/storage/"],
  extensionsToTreatAsEsm: [],
  transform: {
    "\\.ts$": [
      "@swc/jest",
      {
        jsc: { parser: { syntax: "typescript" }, target: "es2024" },
        module: { type: "commonjs" },
      },
    ],
  },
};
