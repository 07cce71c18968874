/**
 * Where everything is in the image and in every container made from it: the working directory, the mounts and the
 * trainer's default paths. A test holds the Dockerfile and the trainer's configuration to it.
 */
export const WORKDIR = "/app";
