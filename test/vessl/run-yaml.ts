/** A run's YAML with every form of every key that the stub's cloud knows. */
export const ALL_FORMS = `
name: all-forms
description: every form there is
tags: [a, b]
resources: {cluster: vessl-gcp-oregon, preset: gpu-h100-1}
image: {url: quay.io/vessl-ai/torch:2.3.1-cuda12.1-r5, credential_name: quay}
import:
  /app/data/: volume://vessl-storage/corpus
  /data/: {volume: {storage_name: vessl-storage, volume_name: corpus}}
  /code/: {git: {url: github.com/org/repo, ref: main}}
  /model/: hf://huggingface.co/org/model
  /s3/: s3://bucket/prefix
mount:
  /nfs/: nfs://server/path
export:
  /output/: volume://vessl-storage/corpus
env:
  PLAIN: "0.001"
  VALUE: {value: "yes"}
  HIDDEN: {secret: HF_TOKEN}
  NAMED: {source: secret, secret: HF_TOKEN}
run:
  - command: |-
      echo "plain $PLAIN, value $VALUE, hidden $(echo $HIDDEN | tr a-z n-za-m), in $PWD"
      cat /app/data/dir/x.txt /data/dir/x.txt
    workdir: /app
  - wait: 1s
  - command: echo to stderr >&2; touch /app/mine && ! touch /app/src/not-mine
ports: [{name: http, type: http, port: 8000}, 9000]
termination_protection: false
`;

export function runYaml(name: string, command: string, more = ""): string {
  return `name: ${name}\nresources: {preset: gpu-h100-1}\nimage: busybox\nrun: [{command: ${JSON.stringify(command)}, workdir: /app}]\n${more}`;
}
