// The settings as `doctor` sees them: what would stop the start, and what works but may not be meant.
import { type Config, isLoopback, type LoadedConfig, SETTINGS } from "../config.ts";
import { type Check, ok, problem, warning } from "./check.ts";

/** What is wrong with each setting that cannot be used, or one line that all of them can. */
export function checkSettings(loaded: LoadedConfig): readonly Check[] {
  if (loaded.ok) return [ok("settings", `all ${SETTINGS.length} are usable`), ...doubts(loaded.config)];
  const advice = "The server does not start until this is put right.";
  return loaded.detail.split("\n").map((line) => problem("settings", line.replace(/\.$/, ""), advice));
}

function doubts(config: Config): readonly Check[] {
  const { durability, encryptionKeys, webhookAllowPrivate, metricsToken, host } = config;
  const found: (Check | false)[] = [
    durability === "normal" &&
      warning(
        "durability",
        "DURABILITY is normal: a power cut loses the last moments of what was answered with 202",
        "Set DURABILITY=full, unless that is meant.",
      ),
    config.disableWebhookDelivery &&
      warning(
        "delivery",
        "DISABLE_WEBHOOK_DELIVERY is set: no webhook is sent",
        "Take it out when that is over.",
      ),
    webhookAllowPrivate === true &&
      !isLoopback(host) &&
      warning(
        "egress",
        "WEBHOOK_ALLOW_PRIVATE is true: whoever may make endpoints reaches every address of your network",
        "Name the ranges that receivers are in: WEBHOOK_ALLOW_PRIVATE=10.1.2.0/24.",
      ),
    metricsToken === null &&
      !isLoopback(host) &&
      warning(
        "metrics",
        `METRICS_TOKEN is not set: whoever reaches ${host} reads /metrics`,
        "Set METRICS_TOKEN, or keep /metrics from others in the proxy before it.",
      ),
    encryptionKeys.length > 1 &&
      warning(
        "encryption",
        "ENCRYPTION_KEY names an old key too",
        "After one start with NEW,OLD everything is sealed by NEW: take OLD out.",
      ),
  ];
  return found.filter((one) => one !== false);
}
