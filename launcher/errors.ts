/** Errors the engine must see in a form of its own. */

/**
 * A create or update that did not end well although the resource exists. The engine keeps a resource whose error carries an id and
 * properties; a plain Error would make it forget a run that still burns GPU hours.
 */
export class ResourceIncomplete extends Error {
  readonly id: string;
  readonly properties: object;
  readonly reasons: string[];

  constructor(id: string, properties: object, reason: string) {
    super(reason);
    this.id = id;
    this.properties = properties;
    this.reasons = [reason];
  }
}

/** What stops a wait from outside: Ctrl-C, a lost engine, `launcher.wait` running out. The run itself goes on. */
export class Detached extends Error {}

/** An answer that says no. */
export class Refused extends Error {
  /** Whether it may be over by itself, as with a service that is busy; otherwise asking again does not help. */
  readonly passing: boolean;

  constructor(message: string, passing: boolean) {
    super(message);
    this.passing = passing;
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
