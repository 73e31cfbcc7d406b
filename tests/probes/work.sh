#!/bin/sh
sort in.txt | tr a-z A-Z >out.txt
scratch=$(mktemp) || exit 3
wc -l <out.txt >"$scratch"
cat "$scratch"
rm "$scratch"
