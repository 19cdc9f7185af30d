// The baseline: Elysia with a schema, which answers 202 and stores nothing. Built like the product.

import { Elysia, t } from "elysia";

const app = new Elysia({ serve: { reusePort: false } })
  .post(
    "/api/events",
    ({ set }) => {
      set.status = 202;
      return { id: Bun.randomUUIDv7(), status: "accepted", created_at: new Date().toISOString() };
    },
    { body: t.Object({ type: t.String(), dedup_id: t.Optional(t.String()), payload: t.Any() }) },
  )
  .listen({ hostname: "127.0.0.1", port: Number(process.env.PORT ?? 0) });

console.log(JSON.stringify({ url: `http://127.0.0.1:${app.server?.port}` }));
