/** Who may do what on AWS, and what a host may become. */
import type { Policy } from "./policy.ts";
import { between, demand, is } from "./values.ts";

const metadata: Policy = {
  id: "instance-metadata-by-token",
  demands: "Instance metadata is reached by token, and within one hop",
  severity: "high",
  controls: [
    "CIS AWS 3.0: 5.6",
    "CIS AWS 5.0: 5.7",
    "FSBP EC2.8",
    "cdk-nag EC2IMDSv2Enabled",
    "checkov CKV_AWS_79, 341",
  ],
  remedy: "Set metadataOptions: { httpEndpoint: enabled, httpTokens: required, httpPutResponseHopLimit: 1 }",
  types: ["aws:ec2/instance:Instance", "aws:ec2/launchTemplate:LaunchTemplate"],
  eachOf(resource, verdict) {
    demand(verdict, resource, "metadataOptions.httpTokens", is("required"), "does not require tokens");
    demand(
      verdict,
      resource,
      "metadataOptions.httpPutResponseHopLimit",
      between(1, 1),
      "is more than one hop, or not set",
    );
  },
};

export const identity: readonly Policy[] = [metadata];
