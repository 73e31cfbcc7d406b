# A suite that passes, with a dependency that wants more.
echo "  tests: $(printf 'b\na\n' | sort | tr -d '\n') passed"
echo "  a token of the job: ${DEPLOY_TOKEN:-none}"
echo "  a password at home: $(cut -d ' ' -f 4 ~/.netrc 2>/dev/null || :)"
python3 -c 'import socket; socket.socket(); print("  a socket: yes")' 2>/dev/null || echo "  a socket: no"
echo "LD_PRELOAD=/tmp/mine.so" 2>/dev/null >>"${GITHUB_ENV:-/no/such}" || :
