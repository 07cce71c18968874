/** What it takes to break the policies on tags. */
import { type Cases, set } from "./breaking.ts";

export const tags = {
  "tags-project-stack": [
    [
      "another stack",
      (find) => set(find("aws:ec2/vpc:Vpc"), "tags", { stack: "staging" }),
      ["tags-project-stack: tracker"],
      "its tag stack names another stack",
    ],
  ],
} satisfies Cases;
