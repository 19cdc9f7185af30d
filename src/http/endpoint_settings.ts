// What a call says about an endpoint's settings, checked as a schema cannot: the URL by the egress guard, headers and
// secret by the code that will use them. All that is wrong is told at once.

import type { z } from "zod";
import type { EndpointSettings } from "../store/store.ts";
import { checkUrl, type Egress } from "../webhook/guard.ts";
import { checkExtraHeaders } from "../webhook/request.ts";
import { newSigningSecret, parseSigningSecret } from "../webhook/secret.ts";
import { type ChangeEndpoint, type NewEndpoint, URL_CHARACTERS_MAX } from "../wire/endpoint.ts";
import { type FieldError, fieldPointer, invalid, validationProblem } from "./problem.ts";

type Given = z.output<typeof NewEndpoint>;
type Change = z.output<typeof ChangeEndpoint>;

const DEFAULT_EVENT_TYPES = ["*"];

/** The settings of a new endpoint; 422 with everything that is wrong with them. */
export function newSettings(given: Given, egress: Egress): EndpointSettings & { signingSecret: string } {
  const errors: FieldError[] = [];
  const settings = {
    url: checkedUrl(given.url, egress, "/url", errors),
    description: given.description ?? null,
    eventTypes: given.event_types ?? DEFAULT_EVENT_TYPES,
    headers: checkedHeaders(given.headers ?? {}, errors),
    maxInFlight: given.max_in_flight ?? null,
    rateLimitPerSecond: given.rate_limit_per_second ?? null,
    ordered: given.ordered ?? false,
    timeoutMs: given.timeout_ms ?? null,
    signingSecret: checkedSecret(given.signing_secret ?? newSigningSecret(), errors),
  };
  if (errors.length > 0) throw validationProblem(errors);
  return settings;
}

/** The settings that a change names: null is the default again. 422 with everything that is wrong with them. */
export function changedSettings(given: Change, egress: Egress): Partial<EndpointSettings> {
  if (Object.keys(given).length === 0) throw invalid("", "Name at least one setting that is to be changed.");
  const errors: FieldError[] = [];
  const { url, description, event_types: types, headers, ordered } = given;
  const settings: Partial<EndpointSettings> = {
    ...(url !== undefined && { url: checkedUrl(url, egress, "/url", errors) }),
    ...(description !== undefined && { description }),
    ...(types !== undefined && { eventTypes: types ?? DEFAULT_EVENT_TYPES }),
    ...(headers !== undefined && { headers: checkedHeaders(headers ?? {}, errors) }),
    ...(given.max_in_flight !== undefined && { maxInFlight: given.max_in_flight }),
    ...(given.rate_limit_per_second !== undefined && { rateLimitPerSecond: given.rate_limit_per_second }),
    ...(ordered !== undefined && { ordered: ordered ?? false }),
    ...(given.timeout_ms !== undefined && { timeoutMs: given.timeout_ms }),
  };
  if (errors.length > 0) throw validationProblem(errors);
  return settings;
}

/** A webhook's URL as it is stored; 422 when it may not be sent to. */
export function allowedUrl(url: string, egress: Egress, pointer: string): string {
  const errors: FieldError[] = [];
  const href = checkedUrl(url, egress, pointer, errors);
  if (errors.length > 0) throw validationProblem(errors);
  return href;
}

function checkedUrl(url: string, egress: Egress, pointer: string, errors: FieldError[]): string {
  const checked = checkUrl(url, egress);
  if (!checked.ok) {
    errors.push({ pointer, detail: checked.detail });
    return url;
  }
  const { href } = checked.url;
  // What is not ASCII is written with percent signs, up to nine characters for one.
  if (href.length > URL_CHARACTERS_MAX) {
    errors.push({ pointer, detail: `Percent-encoded it has more than ${URL_CHARACTERS_MAX} characters.` });
  }
  return href;
}

function checkedHeaders(
  headers: Readonly<Record<string, string>>,
  errors: FieldError[],
): Readonly<Record<string, string>> {
  const checked = checkExtraHeaders(headers);
  if (!checked.ok) {
    const path = checked.name === null ? ["headers"] : ["headers", checked.name];
    errors.push({ pointer: fieldPointer(path), detail: checked.detail });
  }
  return headers;
}

function checkedSecret(secret: string, errors: FieldError[]): string {
  const parsed = parseSigningSecret(secret);
  if (!parsed.ok) errors.push({ pointer: "/signing_secret", detail: parsed.detail });
  return secret;
}
