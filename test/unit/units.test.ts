import { formatDuration, formatHours, parseDuration } from "../../components/units.ts";

test.each([
  ["1s", 1],
  ["90s", 90],
  ["30m", 1800],
  ["1.5h", 5400],
  ["2d", 172_800],
  ["0.5s", 0.5],
])("%s is %d seconds", (text, seconds) => {
  expect(parseDuration(text)).toBe(seconds);
});

test.each([
  "",
  "5",
  "m",
  "0s",
  "0.0h",
  "-1s",
  " 1s",
  "1s ",
  "1 s",
  "1S",
  "1ms",
  "1w",
  ".5h",
  "1.h",
  "1e3s",
  "1h30m",
  "completion",
])("%j is not a duration", (text) => {
  expect(parseDuration(text)).toBeUndefined();
});

test.each([
  [-3, "0s"],
  [0, "0s"],
  [0.4, "0s"],
  [59.4, "59s"],
  [59.6, "1m 0s"],
  [90, "1m 30s"],
  [3599.7, "1h 0m"],
  [4000, "1h 6m"],
  [172_800, "48h 0m"],
])("%d seconds read as %s", (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text);
});

test.each([
  [45, "45s"],
  [60, "1m"],
  [90, "1m 30s"],
  [172_800, "48h"],
])("%d seconds read as %s in a stack file", (seconds, text) => {
  expect(formatHours(seconds)).toBe(text);
});
