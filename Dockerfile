# Two stages: build the executable, then a small image with nothing but it.
#   docker build -t zapier-triggers .
#   docker run -p 3000:3000 -v triggers:/data -e ADMIN_TOKEN="$(openssl rand -hex 32)" --stop-timeout 35 zapier-triggers

FROM oven/bun:1.4.5 AS build
WORKDIR /src
COPY package.json bun.lock bunfig.toml ./
RUN bun install --frozen-lockfile
COPY . .
RUN bun scripts/build.ts

FROM debian:bookworm-slim
# Certificates, to call webhooks over https.
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates \
  && rm -rf /var/lib/apt/lists/* \
  && useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin triggers \
  && install -d -o triggers -g triggers -m 0700 /data
COPY --from=build /src/dist/zapier-triggers /usr/local/bin/zapier-triggers

USER triggers
ENV HOST=0.0.0.0 PORT=3000 DATA_DIR=/data LOG_FORMAT=json
VOLUME /data
EXPOSE 3000
STOPSIGNAL SIGTERM
# Alive, not ready: an orchestrator that restarts on a full disk would only lose time.
# bash, because the image has no curl; /dev/tcp is bash's own.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["bash", "-c", \
  "exec 3<>/dev/tcp/127.0.0.1/${PORT} && printf 'GET /health/live HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]
ENTRYPOINT ["/usr/local/bin/zapier-triggers"]
CMD ["serve"]
