# Tell on standard output what this sandbox isolates, as NAME=VALUE. $1 is the home, which a sandbox would hide.
while IFS=': 	' read -r name value; do
    case $name in Seccomp | Seccomp_filters | NoNewPrivs | CapEff) echo "$name=$value" ;; esac
done </proc/self/status
for name in user pid net mnt ipc uts; do echo "$name=$(readlink /proc/self/ns/$name)"; done
read -r line 2>/dev/null <"$1/secret" && echo reads_home=1
(: >"$1/written") 2>/dev/null
set -- /proc/[0-9]*
echo "processes=$#"
