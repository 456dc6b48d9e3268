# shellcheck shell=bash
# Docker for the time of one step: the engine that answers, else one that is installed, started and ended here. To be
# sourced. Sets docker_found where there is one. Where root on Debian may run one and none starts, that is an error,
# unless AGENTIC_CI_WITHOUT_DOCKER is set.

docker_found=
docker_dir=
docker_pid=
docker_had_bridge=

docker_answers() {
  timeout 10 docker version >/dev/null 2>&1
}

start_docker() {
  if docker_answers; then
    docker_found=yes
    return
  fi
  if [ "$(id -u)" -ne 0 ] || [ ! -e /etc/debian_version ]; then
    echo "warning: no Docker engine answers, and only root on Debian starts one here: no container is tested" >&2
    return
  fi
  if ! unshare --mount true 2>/dev/null; then
    echo "warning: this machine lets nobody run an engine (it makes no namespaces): no container is tested" >&2
    return
  fi
  if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then
    echo "installing docker.io" >&2
    apt-get update -qq
    # Newer releases have the client in a package of its own. The run level keeps a service from being started.
    local client
    client=$(apt-cache pkgnames docker-cli | grep -x docker-cli || true)
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io $client >&2
  fi
  docker_dir=$(mktemp -d)
  docker_had_bridge=$([ ! -e /sys/class/net/docker0 ] || echo yes)
  trap stop_docker EXIT
  export DOCKER_HOST="unix://$docker_dir/docker.sock"
  # A published port needs no rule of the firewall: the engine forwards it itself.
  dockerd --host "$DOCKER_HOST" --data-root "$docker_dir/data" --exec-root "$docker_dir/exec" \
    --pidfile "$docker_dir/pid" --iptables=false --ip6tables=false >"$docker_dir/log" 2>&1 &
  docker_pid=$!
  for _ in $(seq 120); do
    if docker_answers; then
      docker_found=yes
      return
    fi
    kill -0 "$docker_pid" 2>/dev/null || break
    sleep 0.5
  done
  tail -n 5 "$docker_dir/log" >&2
  stop_docker
  if [ -z "${AGENTIC_CI_WITHOUT_DOCKER:-}" ]; then
    echo "error: dockerd does not start on this machine; AGENTIC_CI_WITHOUT_DOCKER=1 goes on without a container" >&2
    return 1
  fi
  echo "warning: dockerd does not start on this machine: no container is tested" >&2
}

# Leaves no process, mount, interface or file of what start_docker started.
stop_docker() {
  [ -n "$docker_dir" ] || return 0
  unset DOCKER_HOST
  kill "$docker_pid" 2>/dev/null || true
  wait "$docker_pid" || true
  umount "$docker_dir/exec/netns/default" 2>/dev/null || true
  [ -n "$docker_had_bridge" ] || ip link delete docker0 2>/dev/null || true
  rm -rf --one-file-system "$docker_dir"
  docker_dir=
}
