# syntax=docker/dockerfile:1
# The webhook, for the platforms that buildx is asked for:
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=$(git describe --tags --always) -t tokenward .
#
# The binary in it is the same, bit by bit, whoever builds it. For the same of the
# image, pin what it is made from by digest, in full, and leave out the time:
#
#   --build-arg GO_IMAGE=golang:1.26.8@sha256:... --build-arg BASE_IMAGE=gcr.io/...@sha256:...
#   --build-arg SOURCE_DATE_EPOCH=0 --provenance=false --output type=oci,dest=image.tar,rewrite-timestamp=true
#
# "make image" needs neither a daemon nor a base image.
ARG GO_IMAGE=golang:1.26.8
ARG BASE_IMAGE=gcr.io/distroless/static-debian12:nonroot

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY Makefile ./
COPY cmd cmd
COPY pkg pkg
ARG TARGETARCH
ARG VERSION=devel
RUN make bin/image/${TARGETARCH}/webhook VERSION=${VERSION}

FROM ${BASE_IMAGE}
ARG TARGETARCH
ARG VERSION=devel
ARG REVISION=
LABEL org.opencontainers.image.title="tokenward" \
      org.opencontainers.image.description="Admission webhook that verifies the tokens and Secrets that pods depend on" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /src/bin/image/${TARGETARCH}/webhook /webhook
# In numbers, so that a kubelet can tell that it is not root.
USER 65532:65532
ENTRYPOINT ["/webhook"]
