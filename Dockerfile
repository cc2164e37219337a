# The agent's image: the program and the libraries it needs, nothing else.
#
#	docker build --build-arg REVISION=$(git rev-parse --short=12 HEAD) -t REGISTRY/leasehold:0.1.0 .
#
# Without a registry, from a program built on this machine: helm/image/build-rootfs.sh.
FROM docker.io/library/debian:bookworm-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
	clang gcc libc6-dev make pkg-config \
	libbpf-dev libcurl4-openssl-dev libjansson-dev libmicrohttpd-dev libmnl-dev libnetfilter-conntrack-dev libnftnl-dev \
	libnl-3-dev libyaml-dev \
	&& rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ARG REVISION=unknown
RUN make -j"$(nproc)" FLAVOUR=release GITREV="$REVISION" build/release/leasehold \
	&& helm/image/build-rootfs.sh build/release/leasehold /context

FROM scratch
COPY --from=build /context/rootfs /
ENTRYPOINT ["/usr/bin/leasehold"]
CMD ["--help"]
