#!/usr/bin/env bash
# Exports tiny in 16, 8 and 4 bits and compares the files with the checkpoints through the gguf
# package. usage: gguf_package.sh OCTET
set -euo pipefail
octet=$1
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
python=$(scripts/python-env)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$octet" export tiny "$work/tiny.gguf"
"$python" tools/check_gguf.py models/tiny "$work/tiny.gguf" "$work/mmproj-tiny.gguf"
for bits in 8 4; do
  "$octet" quantize tiny "$work/$bits" --method rtn --bits $bits
  "$octet" export "$work/$bits" "$work/$bits.gguf" --no-vision
  "$python" tools/check_gguf.py "$work/$bits" "$work/$bits.gguf"
done
# One changed byte of the weights must be noticed.
printf '\x55' | dd of="$work/8.gguf" bs=1 seek=9000000 conv=notrunc status=none
if "$python" tools/check_gguf.py "$work/8" "$work/8.gguf"; then
  echo "a damaged file was called equal" >&2
  exit 1
fi
