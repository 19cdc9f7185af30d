// What a person sees when the server is up: where it is, where the documentation is, where the data lies, and
// lines to paste. The lines need a POSIX shell and curl, no jq.
import { resolve } from "node:path";
import { type Config, openMode } from "../config.ts";

/** The banner, without a line feed at its end. `url` is the server's own, without a slash at its end. */
export function banner(config: Config, url: string, version: string): string {
  return [
    `Zapier Triggers ${version}`,
    "",
    `  API         ${url}`,
    `  docs        ${url}/docs`,
    `  data        ${resolve(config.dataDir)}`,
    `  durability  ${DURABILITY[config.durability]}`,
    ...(config.disableWebhookDelivery ? ["  webhooks    not sent (DISABLE_WEBHOOK_DELIVERY)"] : []),
    "",
    ...(openMode(config)
      ? firstMinute(url)
      : ["Make a key: zapier-triggers keys create --organization NAME"]),
    "",
  ].join("\n");
}

const DURABILITY = {
  full: "full: on disk before the answer",
  normal: "normal: survives a crash of the process, not of the machine",
} as const;

/** Lines for a shell, in this order: make a key, send an event, read the inbox. */
export function tryLines(url: string): readonly string[] {
  const json = `-H 'content-type: application/json'`;
  return [
    `KEY=$(curl -s ${url}/api/keys/generate ${json} -d '{"organization_name":"Demo"}' \\`,
    `  | sed -n 's/.*"api_key" *: *"\\([^"]*\\)".*/\\1/p'); echo "$KEY"`,
    `curl -s ${url}/api/events -H "X-API-Key: $KEY" ${json} \\`,
    `  -d '{"type":"order.created","payload":{"order":1}}'`,
    `curl -s ${url}/api/inbox -H "X-API-Key: $KEY"`,
  ];
}

function firstMinute(url: string): readonly string[] {
  return [
    "Open mode: without ADMIN_TOKEN, any program on this machine can make keys. Paste into another terminal:",
    "",
    ...tryLines(url).map((line) => `  ${line}`),
  ];
}
