# Arguments: TARGET REPOSITORY REVISION [PATTERN ...]. Downloads once, however many pods share TARGET:
# one holds the lock, the others wait and then find the marker. A download that was cut off has no
# marker and is continued.
set -eu
target=$1 repository=$2 revision=$3
shift 3
want="$repository@$revision $*"
mkdir -p "$target"
exec 9>"$target/.lock"
flock 9
if [ "$(cat "$target/.complete" 2>/dev/null || true)" = "$want" ]; then
  echo "download: $target has $want"
  exit 0
fi
rm -f "$target/.complete"
count=$#
while [ "$count" -gt 0 ]; do
  set -- "$@" --include "$1"
  shift
  count=$((count - 1))
done
hf download "$repository" --revision "$revision" --local-dir "$target" "$@"
printf '%s' "$want" >"$target/.complete.new"
mv "$target/.complete.new" "$target/.complete"
