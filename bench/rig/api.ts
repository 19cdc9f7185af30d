// The service's API as the benchmarks use it: few calls, and an answer that is no success is thrown.

/** More than any load here: the limiter counts all the same. */
const LIMIT_PER_MINUTE = 10_000_000;

/** POSTs JSON; throws with what was answered unless it is a success. */
export async function callApi(
  url: string,
  where: string,
  key: string | null,
  body: object | string,
  method = "POST",
): Promise<Record<string, unknown>> {
  const response = await fetch(url + where, {
    method,
    headers: { "content-type": "application/json", ...(key ? { "x-api-key": key } : {}) },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${where}: ${response.status} ${await response.text()}`);
  return (await response.json()) as Record<string, unknown>;
}

/** A new organization with its first key. Its limit is raised: the highest tier's is 100 000 events a minute. */
export async function newOrganization(url: string, name: string): Promise<{ id: string; key: string }> {
  const made = await callApi(url, "/api/keys/generate", null, {
    organization_name: name,
    tier: "enterprise",
  });
  const id = String(made.organization_id);
  const raised = { rate_limit_per_minute: LIMIT_PER_MINUTE };
  await callApi(url, `/api/admin/organizations/${id}`, null, raised, "PATCH");
  return { id, key: String(made.api_key) };
}

/** One number of /metrics, by its name with labels. */
export async function metric(url: string, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const line = text.split("\n").find((one) => one.startsWith(`${name} `));
  if (line === undefined) throw new Error(`no metric ${name}`);
  return Number(line.slice(name.length + 1));
}

/** Waits until no delivery is due. */
export async function drained(url: string): Promise<void> {
  while ((await metric(url, "deliveries_due")) > 0) await Bun.sleep(250);
}
