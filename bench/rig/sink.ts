// A receiver that takes everything, in a process of its own: what it costs is the least that a receiver can.

const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  reusePort: false,
  fetch: () => new Response("ok"),
});
console.log(JSON.stringify({ url: server.url.href })); // as scripts/listening.ts waits for
