#!/usr/bin/env bash
# tools/install_packages.sh build|check
#
# Installs what is missing of the Debian or Ubuntu packages that building the program needs
# (build), or that ./check needs as well (check). Does nothing, and asks for no rights, where
# nothing is missing.
set -euo pipefail

# libdnnl-dev's CMake package asks for OpenCL but the package only recommends it.
build=(g++ cmake ninja-build pkg-config libdnnl-dev ocl-icd-opencl-dev nlohmann-json3-dev
  libcli11-dev libeigen3-dev libfmt-dev libpcre2-dev libutf8proc-dev zlib1g-dev
  libcurl4-openssl-dev libssl-dev ca-certificates libedit-dev)
check=(python3 git binutils libgtest-dev libbenchmark-dev)

case "${1:-}" in
  build) wanted=("${build[@]}") ;;
  check) wanted=("${build[@]}" "${check[@]}") ;;
  *) echo "usage: $0 build|check" >&2; exit 2 ;;
esac

if ! command -v dpkg > /dev/null || ! command -v apt-get > /dev/null; then
  echo "This system has no apt-get. Going on; where a package is missing, install the like of:" >&2
  echo "  ${wanted[*]}" >&2
  exit 0
fi

missing=()
for package in "${wanted[@]}"; do
  dpkg -s "$package" 2> /dev/null | grep -q '^Status: install ok installed' || missing+=("$package")
done
((${#missing[@]})) || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo > /dev/null; then
    echo "Some packages are missing and this user may not install them. As root, run:" >&2
    echo "  apt-get update && apt-get install -y ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
as_root+=(env DEBIAN_FRONTEND=noninteractive)

echo "Installing with apt-get: ${missing[*]}"
"${as_root[@]}" apt-get update -qq < /dev/null
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" < /dev/null > /dev/null
