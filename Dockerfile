# Two images from the binary that `make dist` has built; no base image is pulled.
#
#   make image                                     both
#   COPY --from=execd:latest /execd /execd         into an image of your own

# With a shell, for trying things out: busybox is the one of the machine that builds.
FROM scratch AS shell
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="execd" \
      org.opencontainers.image.description="Sandbox daemon: runs AI-agent executions under limits that hold (with a busybox shell)" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY dist/busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN mkdir -p /tmp /workspace /etc && chmod 1777 /tmp /workspace && \
    printf 'root:x:0:0:root:/:/bin/sh\nagent:x:10001:10001:agent:/workspace:/bin/sh\n' > /etc/passwd
COPY dist/execd /execd
ENV PATH=/bin
WORKDIR /workspace
EXPOSE 44772
HEALTHCHECK --interval=10s --timeout=2s --start-period=2s --retries=3 CMD ["/execd", "health"]
ENTRYPOINT ["/execd", "--"]

# The image to copy from, and to build on: one file.
FROM scratch AS execd
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="execd" \
      org.opencontainers.image.description="Sandbox daemon: runs AI-agent executions under limits that hold" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY dist/execd /execd
EXPOSE 44772
HEALTHCHECK --interval=10s --timeout=2s --start-period=2s --retries=3 CMD ["/execd", "health"]
ENTRYPOINT ["/execd", "--"]
