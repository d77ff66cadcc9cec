#!/bin/sh
# curl.sh URL COUNT FLAGS…: one curl per request.
url=$1 count=$2 ok=0 last=
shift 2
for _ in $(seq "$count"); do
  if status=$(curl --silent --show-error --max-time 20 --output /dev/null --write-out '%{http_code} %{http_version}' "$@" "$url" 2>curl.err)
  then case $status in 200*) ok=$((ok + 1)) last=${status#* } ;; *) last=$status ;; esac
  else last=$(tr -d '"\\\n' <curl.err)
  fi
done
printf '{"ok": %d, "failed": %d, "last": "%s"}\n' "$ok" $((count - ok)) "$last"
