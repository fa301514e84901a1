# Cross-compiled on the builder's own platform: the binary is static and needs no C compiler.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
ARG TARGETOS TARGETARCH
ARG VERSION=dev
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/go/cache \
    GOCACHE=/go/cache CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /out/refreshd ./cmd/refreshd
# The final image has no shell to make a directory with.
RUN mkdir -p /out/image/var/lib/refreshd

# Distroless over scratch: it has the root certificates for sslmode=verify-full, and no shell either.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/refreshd /usr/local/bin/refreshd
COPY --from=build --chown=65532:65532 /out/image/var/lib/ /var/lib/
USER 65532:65532
# The embedded database and its master key are made below the working directory.
WORKDIR /var/lib/refreshd
VOLUME /var/lib/refreshd
# Metrics stay on the container's loopback address unless REFRESHD_ADMIN_LISTEN says otherwise.
ENV REFRESHD_LISTEN=0.0.0.0:3000
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/usr/local/bin/refreshd", "health"]
ENTRYPOINT ["/usr/local/bin/refreshd"]
CMD ["serve"]
