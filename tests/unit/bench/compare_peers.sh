#!/usr/bin/env bash
# bench/compare_peers with programs that print known numbers: order, medians, ratios, what is skipped
# and what fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export WORK=$work
wrong() { echo "compare_peers.sh: $*" >&2; exit 1; }

# Each run counts up, so that rounds differ: octet 10, 20, 30 and so on; the peers' samples likewise.
cat >"$work/octet" <<'OCTET'
#!/usr/bin/env bash
echo "octet $*" >>"$WORK/calls"
n=$(grep -c ^octet "$WORK/calls")
rm -rf "${REMOVE-}"
echo "{\"machine\": {\"read_gb_s\": 50}, \"cases\": [
  {\"kind\": \"prefill\", \"tokens_per_second\": {\"median\": ${n}00}},
  {\"kind\": \"decode\", \"bandwidth_fraction\": 0.$n, \"tokens_per_second\": {\"median\": ${n}0}}]}"
OCTET
cat >"$work/llama-bench" <<'LLAMA'
#!/usr/bin/env bash
if [ "$1" = --help ]; then echo "  -rtr, --run-time-repack <0|1>"; exit 1; fi
echo "peer $*" >>"$WORK/calls"
echo '[{"n_prompt": 64, "n_gen": 0, "samples_ts": [1, 50, 1000]}, {"n_prompt": 0, "n_gen": 8, "samples_ts": [4, 6]}]'
LLAMA
chmod +x "$work/octet" "$work/llama-bench"
touch "$work/weights.gguf"

compare() { bench/compare_peers --octet "$work/octet" --prompt 64 --decode 8 --threads 1 "$@"; }
compare --llama "$work/llama-bench" --ik "$work/llama-bench" --gguf "$work/weights.gguf" --rounds 3 \
  --json "$work/result.json" >"$work/table"
[ "$(cut -d ' ' -f 1 "$work/calls" | tr '\n' ' ')" = "octet peer peer octet peer peer octet peer peer " ] ||
  wrong "the programs don't take turns: $(cat "$work/calls")"
[ "$(grep -c -e '-rtr 1' "$work/calls")" = 3 ] || wrong "-rtr 1 is for ik_llama.cpp, each time"
grep -qF '| octet auto | 200 (100-300) | 20 (10-30) | 0.2 (0.1-0.3) | 50 (50-50) |' "$work/table" ||
  wrong "octet's row: $(cat "$work/table")"
grep -qF '| ik_llama.cpp | 50 (50-50) | 5 (5-5) | - | - |' "$work/table" || wrong "a peer's row: $(cat "$work/table")"
grep -qF '| octet auto | 4 | 4 | 4 | 4 |' "$work/table" || wrong "ratios: $(cat "$work/table")"
[ "$(jq '.runs | length' "$work/result.json")" = 9 ] || wrong "runs of the JSON file"

rm "$work/calls"
compare --llama "$work/none" --activations int8,int16 --activations float32 --rounds 1 >"$work/table" 2>"$work/said"
grep -q "llama: skipped, $work/none" "$work/said" || wrong "a peer that is not there: $(cat "$work/said")"
grep -q 'ik: skipped' "$work/said" || wrong "a peer that is not named: $(cat "$work/said")"
grep -qF '| octet float32 | 300' "$work/table" || wrong "three kinds: $(cat "$work/table")"
if grep -q ratio "$work/table"; then wrong "ratios to nothing"; fi

printf '#!/bin/sh\necho broken >&2; exit 3\n' >"$work/llama-bench"
if compare --ik "$work/llama-bench" --gguf "$work/weights.gguf" --rounds 1 >/dev/null 2>"$work/said"; then
  wrong "a peer's failure went unnoticed"
fi
grep -q broken "$work/said" || wrong "its last words are missing"
if compare --rounds 0 2>/dev/null; then wrong "--rounds 0 was taken"; fi

rm "$work/calls"
if compare --rounds 1 --json "$work/none/result.json" >/dev/null 2>"$work/said"; then wrong "--json to no folder was taken"; fi
grep -q -e "--json $work/none/result.json" "$work/said" || wrong "what is wrong with --json: $(cat "$work/said")"
[ ! -e "$work/calls" ] || wrong "measured although --json can't be written"
mkdir "$work/gone"
if REMOVE=$work/gone compare --rounds 1 --json "$work/gone/result.json" >"$work/table" 2>/dev/null; then
  wrong "a lost --json went unnoticed"
fi
grep -qF '| octet auto | 100' "$work/table" || wrong "a lost --json took the table with it: $(cat "$work/table")"
