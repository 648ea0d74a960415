# The program, and what its runbooks commonly need. See docs/images.md.
ARG BUILDER_IMAGE=node:24-trixie-slim
ARG BASE_IMAGE=debian:trixie-slim

FROM ${BUILDER_IMAGE} AS build
WORKDIR /source
COPY . .
# No script of a package is run: nothing of them is needed to compile.
RUN npm ci --ignore-scripts && node scripts/build-binary.ts

FROM ${BASE_IMAGE}
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
      bash bubblewrap ca-certificates curl git jq tini zsh \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 # No program gains anybody rights.
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} +

# Whatever has the secrets of the server in its environment is an executable that nobody may read but root (0111): then
# the kernel keeps what is in /proc of it from scripts of the same user. So these few are there a second time.
RUN groupadd --gid 10001 runbook \
 && useradd --uid 10001 --gid 10001 --create-home --shell /bin/bash runbook \
 && install -d -o runbook -g runbook -m 0700 /var/lib/runbook \
 && install -d /etc/runbook /opt/stage0/runbooks /usr/lib/runbook \
 && install -m 0111 /bin/dash /usr/lib/runbook/sh \
 && install -m 0111 /usr/bin/curl /usr/bin/tini /usr/lib/runbook/
COPY --from=build --chmod=0111 /source/dist-binary/runbook /usr/lib/runbook/runbook
COPY --chmod=0755 image/healthcheck /usr/lib/runbook/healthcheck
COPY --chmod=0755 image/runbook /usr/local/bin/runbook

ARG BUILT_AT=LOCAL
LABEL org.opencontainers.image.title="runbook" \
      org.opencontainers.image.description="Validates, executes and serves markdown runbooks" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.created="${BUILT_AT}"
ENV BUILT_AT=${BUILT_AT} \
    RUNBOOKS_DIR=/opt/stage0/runbooks \
    STATE_DIR=/var/lib/runbook
USER 10001:10001
WORKDIR /home/runbook
EXPOSE 8083
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/usr/lib/runbook/healthcheck"]
ENTRYPOINT ["/usr/lib/runbook/tini", "--"]
CMD ["runbook", "serve"]
