/** Stand-in for the Docker provider: builds and pushes for real, with the docker command. Entry point of its process. */
import { imageType } from "./docker/image.ts";
import { serve } from "./server.ts";

await serve({ name: "docker", version: "5.2.0", types: { "docker:index/image:Image": imageType }, functions: {} });
