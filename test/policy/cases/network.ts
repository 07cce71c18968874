/** What it takes to break the policies on network. */

import { byHand } from "../support.ts";
import { type Cases, open, rule, set } from "./breaking.ts";

export const network = {
  "ssh-open-to-internet": [
    [
      "22",
      open(22),
      ["ssh-open-to-internet: extra", "port-open-to-internet: extra", "ingress-https-only: extra"],
      "the internet reaches port 22 or 3389",
    ],
  ],
  "postgres-open-to-internet": [
    [
      "5432",
      open(5432),
      ["postgres-open-to-internet: extra", "port-open-to-internet: extra", "ingress-https-only: extra"],
      "the internet reaches port 5432",
    ],
  ],
  "mlflow-open-to-internet": [
    [
      "5000",
      open(5000),
      ["mlflow-open-to-internet: extra", "port-open-to-internet: extra", "ingress-https-only: extra"],
      "the internet reaches port 5000",
    ],
  ],
  "port-open-to-internet": [
    [
      "8080",
      open(8080),
      ["port-open-to-internet: extra", "ingress-https-only: extra"],
      "the internet reaches ports 8080 to 8080",
    ],
    [
      "two halves",
      () => rule({ fromPort: 80, toPort: 80, cidrBlocks: ["0.0.0.0/1", "128.0.0.0/1"] }),
      ["port-open-to-internet: extra", "ingress-https-only: extra"],
      "the internet reaches ports 80 to 80",
    ],
    [
      "IPv6",
      () => rule({ fromPort: 80, toPort: 80, cidrBlocks: [], ipv6CidrBlocks: ["::/0"] }),
      ["port-open-to-internet: extra", "ingress-https-only: extra"],
      "the internet reaches ports 80 to 80",
    ],
  ],
  "tracker-open-to-internet": [
    [
      "443 of everybody",
      (find) => set(find("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"), "cidrIpv4", "0.0.0.0/0"),
      ["tracker-open-to-internet: tracker"],
      "the internet reaches the login, on port 443",
    ],
  ],
  "ingress-https-only": [
    [
      "22 of the office",
      () => rule({ fromPort: 22, toPort: 22 }),
      ["ingress-https-only: extra"],
      "ports 22 to 22 are let in",
    ],
  ],
  "interface-guarded": [
    [
      "no group",
      (find) => set(find("aws:ec2/networkInterface:NetworkInterface"), "securityGroups", []),
      ["interface-guarded: tracker"],
      "securityGroups names no security group of the stack",
    ],
  ],
  "security-group-described": [
    ["a rule", () => rule({ description: undefined }), ["security-group-described: extra"], "description is missing"],
  ],
  "egress-limited": [
    [
      "all ports",
      (find) => [
        byHand(
          "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
          "extra",
          { ipProtocol: "-1", cidrIpv4: "0.0.0.0/0", description: "all" },
          { provider: find("aws:ec2/vpc:Vpc").provider },
        ),
      ],
      ["egress-limited: extra"],
      "ports 0 to 65535 of the whole internet can be reached from inside",
    ],
  ],
  "default-security-group-closed": [
    [
      "a rule",
      (find) =>
        set(find("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"), "egress", [
          { protocol: "tcp", fromPort: 443, toPort: 443, cidrBlocks: ["0.0.0.0/0"] },
        ]),
      ["default-security-group-closed: tracker"],
      "egress has rules",
    ],
  ],
  "public-address-on-purpose": [
    [
      "handed out",
      (find) => set(find("aws:ec2/subnet:Subnet"), "mapPublicIpOnLaunch", undefined),
      ["public-address-on-purpose: tracker"],
      "mapPublicIpOnLaunch is not false",
    ],
  ],
} satisfies Cases;
