/** Stand-in for the AWS provider: makes up what AWS would answer and asks it nothing. Entry point of its process. */
import { account } from "./aws/account.ts";
import { computeTypes } from "./aws/compute.ts";
import { functions } from "./aws/functions.ts";
import { identityTypes } from "./aws/identity.ts";
import { networkTypes } from "./aws/network.ts";
import { storageTypes } from "./aws/storage.ts";
import { serve } from "./server.ts";

await serve({
  name: "aws",
  version: "7.48.0",
  types: { ...storageTypes, ...identityTypes, ...networkTypes, ...computeTypes },
  functions,
  configure: (config) => account.configure(config),
});
