/** All policies, in the order of docs/policies.md. */
import { cost } from "./cost.ts";
import { identity } from "./identity.ts";
import { image } from "./image.ts";
import { network } from "./network.ts";
import type { Policy, Theme } from "./policy.ts";
import { secrets } from "./secrets.ts";
import { storage } from "./storage.ts";
import { tags } from "./tags.ts";
import { training } from "./training.ts";

export const POLICIES_BY_THEME: Readonly<Record<Theme, readonly Policy[]>> = {
  storage,
  network,
  identity,
  secrets,
  image,
  training,
  cost,
  tags,
};

export const POLICIES: readonly Policy[] = Object.values(POLICIES_BY_THEME).flat();
