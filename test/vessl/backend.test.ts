/** The GPU cloud's backend does what every backend must do. */
import { describeBackend } from "../contract/backend-contract.ts";
import { makeVessl } from "./backend-on-stub.ts";

describeBackend("vessl", makeVessl);
