# syntax=docker/dockerfile:1
# An image with the static program and nothing else: no shell, no package manager, no root.
#
#   docker build -t taskcenter .
#   docker run -p 127.0.0.1:8275:8275 -v taskcenter:/var/lib/taskcenter taskcenter

FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends musl-tools ca-certificates \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN triple="$(uname -m)-unknown-linux-musl" \
    && rustup target add "$triple" \
    # cc-rs looks for the compiler with the name of the target.
    && ln -sf "$(command -v musl-gcc)" "/usr/local/bin/$(uname -m)-linux-musl-gcc" \
    && cargo build --locked --release --package taskcenter-server --bin taskcenter --target "$triple" \
    && cp "target/$triple/release/taskcenter" /taskcenter
RUN mkdir -p /empty/var/lib/taskcenter && chown 10001:10001 /empty/var/lib/taskcenter

FROM scratch
# Without certificates of authorities, the program cannot set up TLS, and does not start.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=10001:10001 /empty/ /
COPY --from=build /taskcenter /usr/bin/taskcenter
USER 10001:10001
ENV TASKCENTER__SERVER__LISTEN=0.0.0.0:8275 \
    TASKCENTER__EMBEDDED__DATA_DIR=/var/lib/taskcenter
VOLUME /var/lib/taskcenter
EXPOSE 8275
# The command asks the server on the loopback interface, where no token is needed.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/bin/taskcenter", "node", "list"]
# SIGTERM: the server answers the requests in progress. Allow 30 s: docker stop --time 30.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/taskcenter"]
CMD ["serve"]
