#! /bin/sh
# Whether a server lives; with --ready, whether it takes work. For a container's health check, or a watchdog of yours.
#
#   healthcheck.sh [--ready] [address]     address: http://127.0.0.1:$API_PORT by default
#
# 0: yes. 1: it answers otherwise, and says why on stdout. 3: it does not answer within 5 seconds. 64: wrong use.
# (2 is not for health checks: Docker keeps it for itself.)
set -u

path=/healthz
if [ "${1-}" = --ready ]; then
  path=/readyz
  shift
fi
address=${1-http://127.0.0.1:${API_PORT:-8083}}
case $address in
  http://* | https://*) ;;
  *)
    echo "healthcheck.sh: expected an address such as http://127.0.0.1:8083, found $address" >&2
    exit 64
    ;;
esac
command -v curl >/dev/null || {
  echo 'healthcheck.sh: needs curl; install it' >&2
  exit 64
}

answer=$(curl --silent --show-error --max-time 5 --noproxy '*' --write-out '\n%{http_code}' "${address%/}$path") || exit 3
printf '%s\n' "${answer%?????}" # without the line of the status
[ "${answer##*[!0-9]}" = 200 ]
