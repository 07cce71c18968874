/** Prints the JSON Schema of a stack file, for completion and checks in editors: `node tools/stack-schema.ts`. */
import { stackFileSchema } from "../components/stack-file-schema.ts";

console.log(JSON.stringify(stackFileSchema(), null, 2));
