/** All policies, in the order of docs/policies.md. */
import { identity } from "./identity.ts";
import type { Policy, Theme } from "./policy.ts";

export const POLICIES_BY_THEME: Readonly<Partial<Record<Theme, readonly Policy[]>>> = { identity };

export const POLICIES: readonly Policy[] = Object.values(POLICIES_BY_THEME).flat();
