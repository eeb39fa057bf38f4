# A static binary in an empty image. `make dist` makes the same binary without Docker. It is built twice, the second time by what the first did
# under load, for which the builder needs two cores.
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends musl-tools && rustup target add x86_64-unknown-linux-musl \
    && rustup component add llvm-tools
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY benches benches
COPY scripts scripts
RUN CC_x86_64_unknown_linux_musl=musl-gcc scripts/profiled x86_64-unknown-linux-musl \
    && strip target/profiled/x86_64-unknown-linux-musl/release/portcullis \
    && mkdir -p /out/state && cp target/profiled/x86_64-unknown-linux-musl/release/portcullis /out/

FROM scratch
COPY --from=build /out/portcullis /portcullis
# A numeric user: there is no /etc/passwd here. The state directory is the only place it writes.
COPY --from=build --chown=65532:65532 /out/state /etc/portcullis/state
USER 65532:65532
WORKDIR /etc/portcullis
# There is no CA bundle here either: an https upstream needs `tls = { ca = "…" }`.
ENTRYPOINT ["/portcullis"]
CMD ["run", "-c", "/etc/portcullis/portcullis.toml"]
