// Writes package-lock.json anew, complete for every platform.
//
// A private mirror often lacks the native packages of other platforms. npm then leaves them out of the lock without
// a word, and `npm ci` refuses that lock everywhere. Their exact versions are known all the same (the package that
// wants them says so), so they are added here; npm installs only the one that fits the machine.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

interface LockedPackage {
  version?: string;
  dev?: boolean;
  optional?: boolean;
  os?: string[];
  cpu?: string[];
  libc?: string[];
  optionalDependencies?: Record<string, string>;
}

const systems = ["android", "darwin", "freebsd", "linux", "openharmony", "win32"];
const processors = ["arm", "arm64", "ia32", "loong64", "ppc64", "riscv64", "s390x", "wasm32", "x64"];

export function completePlatforms(packages: Record<string, LockedPackage>): Record<string, LockedPackage> {
  const complete = { ...packages };
  for (const [path, wanting] of Object.entries(packages)) {
    if (path === "") continue;
    for (const [name, version] of Object.entries(wanting.optionalDependencies ?? {})) {
      const words = name.slice(name.indexOf("/") + 1).split("-");
      const os = systems.filter((system) => words.includes(system));
      const cpu = processors.filter((processor) => words.includes(processor));
      const known = `node_modules/${name}` in packages || `${path}/node_modules/${name}` in packages;
      if (known || os.length !== 1 || cpu.length !== 1 || !/^\d/.test(version)) continue;
      const libc = words.some((word) => word.startsWith("musl")) ? ["musl"] : words.includes("gnu") ? ["glibc"] : [];
      complete[`node_modules/${name}`] = {
        version,
        cpu,
        ...(wanting.dev ? { dev: true } : {}),
        ...(os[0] === "linux" && libc.length > 0 ? { libc } : {}),
        optional: true,
        os,
      };
    }
  }
  const { "": own, ...rest } = complete;
  const sorted = Object.entries(rest).sort(([a], [b]) => (a < b ? -1 : 1));
  return { ...(own ? { "": own } : {}), ...Object.fromEntries(sorted) };
}

if (import.meta.main) {
  const root = join(import.meta.dirname, "..");
  execFileSync("npm", ["install", "--package-lock-only", "--ignore-scripts"], { cwd: root, stdio: "inherit" });
  const file = join(root, "package-lock.json");
  const lock = JSON.parse(readFileSync(file, "utf8"));
  lock.packages = completePlatforms(lock.packages);
  writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
}
