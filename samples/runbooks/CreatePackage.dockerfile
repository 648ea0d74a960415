FROM scratch
LABEL org.opencontainers.image.description="Hello"
