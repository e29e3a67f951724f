#!/bin/sh
# Starts the server, with options or a command of score-server; another program that is named runs instead of it.
# A command line of Java, as in a compose file written for the image of Overture Score, becomes ours: its --NAME=VALUE
# and -DNAME=VALUE are settings, and what is left is for Java alone.
set -eu

say() { echo "entrypoint: $*" >&2; }

for name in JAVA_OPTS JAVA_TOOL_OPTIONS JDK_JAVA_OPTIONS; do
    eval "value=\${$name:-}"
    case $value in *-Dspring.profiles.*)
        say "$name names profiles, which may be what keeps strangers out, and is not read: there is no Java in this image. Give them as SPRING_PROFILES_ACTIVE."
        exit 1
        ;;
    esac
    [ -z "$value" ] || say "$name is ignored: there is no Java in this image. Give settings of the server as variables of their own, as SERVER_PORT."
done

case "${1:-}" in
"" | -*) exec score-server "$@" ;;
java) shift ;;
*)
    if command -v "$1" >/dev/null; then exec "$@"; fi
    exec score-server "$@"
    ;;
esac

left=$#
while [ "$left" -gt 0 ]; do
    word=$1
    shift
    left=$((left - 1))
    case $word in
    --spring.config.location=classpath:*) ;; # files within Java's archive
    --*=*) set -- "$@" "$word" ;;
    -Dlog.path=*) ;; # the log goes to the output
    -D*=*) set -- "$@" "--${word#-D}" ;;
    -jar | -cp | -classpath) [ "$left" -eq 0 ] || { shift && left=$((left - 1)); } ;;
    *) say "$word is ignored: it is for Java, and there is none in this image." ;;
    esac
done
exec score-server "$@"
