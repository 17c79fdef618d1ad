# Shared by the scripts of this folder: source it, do not run it.
# After sourcing, the working directory is the repository (`repository`); paths of the caller go through `absolute`.

caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
repository=$PWD

# Says something to the person at the terminal. Results go to standard output, everything else here.
say() { printf '%s\n' "$*" >&2; }

# fail STATUS MESSAGE…: leaves with the reason. 64 wrong usage, 66 missing input, 69 missing software, 73 cannot write.
fail() {
  local status=$1
  shift
  say "error: $*"
  exit "$status"
}

# The comment at the head of the running script is its help.
help() { sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$0"; }

# A path as the caller meant it.
absolute() { case $1 in /*) printf '%s\n' "$1" ;; *) printf '%s\n' "$caller/$1" ;; esac }

# Shows a command, as one would type it in the repository, and runs it.
run() {
  local word shown=+
  for word in "$@"; do
    word=${word#"$repository"/}
    [[ $word =~ ^[A-Za-z0-9_./,:=+-]+$ ]] || word=${word@Q}
    shown+=" $word"
  done
  say "$shown"
  "$@"
}

# mpi_command RANKS: fills the array `mpi` with the launcher of that many ranks on this machine.
mpi_command() {
  local ranks=$1 cores
  cores=$(nproc)
  command -v mpirun >/dev/null || fail 69 "mpirun is missing: launch/install brings it"
  # --quiet: Open MPI's own paragraphs bury the one line that says why a rank refused.
  mpi=(mpirun --quiet -n "$ranks" --bind-to none)
  if ((EUID == 0)); then mpi+=(--allow-run-as-root); fi
  if ((ranks > cores)); then
    # More ranks than cores: those that wait give up the processor.
    mpi+=(--oversubscribe --mca mpi_yield_when_idle 1)
  else
    # Open MPI counts cores and not hardware threads unless told so.
    mpi+=(--use-hwthread-cpus)
  fi
}

# Where the release build puts its products.
products() { swift build -c release --show-bin-path; }

# mfqat_command: fills `mfqat` with the path of the executable, which must have been built.
mfqat_command() {
  mfqat=$(products)/mfqat
  [[ -x $mfqat ]] || fail 66 "$mfqat is missing: launch/build makes it"
}

# elapsed SINCE: seconds as "3 min 07 s".
elapsed() {
  local seconds=$((SECONDS - $1))
  if ((seconds < 60)); then printf '%d s' "$seconds"; else printf '%d min %02d s' $((seconds / 60)) $((seconds % 60)); fi
}

# insert MARKER FILE…: the files, less the commit they were made at, between the markers of `document`.
insert() {
  local marker=$1 block
  shift
  grep -q "<!-- $marker -->" "$document" || fail 66 "$document has no marker $marker"
  block=$(mktemp)
  { echo '```'; cat "$@" | sed 's/; commit [0-9a-f+]*$//'; echo '```'; } >"$block"
  sed -i -e "/<!-- $marker -->/,/<!-- \/$marker -->/{/<!-- $marker -->/{p;r $block
};/<!-- \/$marker -->/p;d}" "$document"
  rm -f "$block"
}

# novels_text MODEL NOVELS OUT: OUT/train.bin and OUT/heldout.bin, tokens of 8.5 MB of novels to train on and of the
# beginnings of four that no run reads. What is there already stays. Needs `mfqat`.
novels_text() {
  local model=$1 novels=$2 out=$3 name novel
  local heldout=(Blackmore_Erema_1877 Doyle_Hound_1902 Hardy_Madding_1874 Schreiner_Trooper_1897)
  [[ ! -e $out/train.bin ]] || return 0
  for name in "${heldout[@]}"; do
    [[ -f $novels/$name.txt ]] || fail 66 "$novels/$name.txt is missing: it is one of those held out"
    head -c 100000 "$novels/$name.txt"
  done >"$out/heldout.txt"
  for novel in "$novels"/*.txt; do
    [[ " ${heldout[*]} " == *" $(basename "$novel" .txt) "* ]] || cat "$novel"
  done 2>/dev/null | head -c 8500000 >"$out/train.txt" || true
  "$mfqat" prepare --model "$model" --text "$out/heldout.txt" --out "$out/heldout.bin" >&2
  "$mfqat" prepare --model "$model" --text "$out/train.txt" --out "$out/train.bin" >&2
}
