/**
 * Machines that stand in for EC2 instances: containers in which systemd and Debian's cloud-init run the user data as
 * it is. All state is in Docker and in the image file of the volume, so any process can boot and destroy by name.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export const PROJECT = resolve(import.meta.dirname, "..", "..");
/** A documentation range (RFC 5737) that is in nobody's use; .1 is this machine. */
export const NETWORK = { name: "wmtp-test-host", subnet: "198.51.100.0/24", gateway: "198.51.100.1" } as const;
const IMAGE = "wmtp-test-host:bookworm";

export interface MachineOptions {
  /** Name of the container. */
  readonly name: string;
  /** Of {@link NETWORK}. @example "198.51.100.10" */
  readonly address: string;
  readonly userData: string;
  /** Where AWS's interfaces answer; the user data knows nothing of it. @example "http://198.51.100.1:5001" */
  readonly endpoint: string;
}

/** Makes sure that there are an engine, the image of the machines and their network. */
export function prepareMachines(): void {
  run(join(PROJECT, "tools", "docker"), ["--base"]);
  docker("build", "--quiet", "--tag", IMAGE, join(import.meta.dirname, "machine"));
  if (!succeeds("network", "inspect", NETWORK.name)) {
    docker("network", "create", "--subnet", NETWORK.subnet, "--gateway", NETWORK.gateway, NETWORK.name);
  }
}

/** Boots; returns at once. A machine of that name is destroyed first. */
export function bootMachine({ name, address, userData, endpoint }: MachineOptions): void {
  destroyMachine(name);
  // Copied into the container, so that nothing of it has to stay here.
  const files = mkdtempSync(join(tmpdir(), "wmtp-machine-"));
  try {
    const seed = join(files, "var/lib/cloud/seed/nocloud");
    const manager = join(files, "etc/systemd/system.conf.d");
    for (const folder of [seed, manager]) mkdirSync(folder, { recursive: true });
    writeFileSync(join(seed, "user-data"), userData);
    writeFileSync(join(seed, "meta-data"), `instance-id: ${name}\nlocal-hostname: tracker\n`);
    const variables = `AWS_ENDPOINT_URL=${endpoint} AWS_EC2_METADATA_SERVICE_ENDPOINT=${endpoint}`;
    writeFileSync(join(manager, "aws.conf"), `[Manager]\nDefaultEnvironment=${variables}\n`);
    const rights = ["--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--security-opt", "seccomp=unconfined"];
    const network = ["--network", NETWORK.name, "--ip", address];
    const devices = ["--device-cgroup-rule", "b 7:* rmw"]; // loop devices, which are attached later
    const cgroups = ["--cgroupns", "host", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw"];
    const memory = ["--tmpfs", "/run", "--tmpfs", "/run/lock", "--memory", "2g"]; // a t3.small's
    // Units get their credentials by a mount that must reach them: on a real machine systemd itself shares the root.
    const init = ["sh", "-c", "mount --make-rshared / && exec /sbin/init"];
    const all = [...rights, "--security-opt", "apparmor=unconfined", ...network, ...devices, ...cgroups, ...memory];
    docker("create", "--name", name, "--env", "container=docker", ...all, IMAGE, ...init);
    docker("cp", `${files}/.`, `${name}:/`);
    docker("start", name);
  } finally {
    rmSync(files, { recursive: true, force: true });
  }
}

/** An empty volume as an image file; it takes space only as it is filled. */
export function createVolume(image: string, bytes: number): void {
  writeFileSync(image, "");
  truncateSync(image, bytes);
}

/** What EC2 does after an attachment: the device appears under the volume's id. */
export function attachVolume(name: string, volumeId: string, image: string): void {
  const loop = losetup("--associated", image).split(":")[0] || losetup("--find", "--show", image);
  const path = `/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${volumeId.replace("-", "")}`;
  const minor = loop.replace("/dev/loop", "");
  inMachine(name, `mkdir -p /dev/disk/by-id && mknod ${path} b 7 ${minor}`);
}

/** The container and all on its root disk; volumes stay. */
export function destroyMachine(name: string): void {
  if (succeeds("container", "inspect", name)) docker("rm", "--force", "--volumes", name);
}

/** The image file is free again: to be deleted, or attached elsewhere. */
export function detachVolume(image: string): void {
  const loop = losetup("--associated", image).split(":")[0];
  if (loop) losetup("--detach", loop);
}

/** Output of a shell command on the machine, as root. A secret goes in by `input`, never in the command. */
export function inMachine(name: string, command: string, input?: string): string {
  return run("docker", ["exec", "--interactive", name, "bash", "-c", command], input);
}

function docker(...words: string[]): string {
  return run("docker", words);
}

function succeeds(...words: string[]): boolean {
  try {
    docker(...words);
    return true;
  } catch {
    return false;
  }
}

function losetup(...words: string[]): string {
  return run("losetup", words);
}

export function run(command: string, words: readonly string[], input?: string): string {
  return execFileSync(command, words, {
    encoding: "utf8",
    input: input ?? "",
    maxBuffer: 2 ** 26,
    stdio: "pipe",
  }).trim();
}
