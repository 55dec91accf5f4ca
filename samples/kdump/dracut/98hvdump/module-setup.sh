#!/bin/bash
# dracut module: hvdump-capture and its policy for the capture kernel's initramfs.

check() {
  require_binaries hvdump-capture || return 1
  return 255  # only when asked for
}

depends() {
  echo kdumpbase
}

install() {
  local policy=${HVDUMP_POLICY:-/etc/hvdump/policy.json} config=${HVDUMP_CONFIG:-/etc/hvdump/kdump.conf}
  local file
  for file in "$policy" "$config"; do
    if [ -e "$file" ] && grep -qi 'AGE-SECRET-KEY-' "$file"; then
      dfatal "$file holds a private key: only recipients belong into the initramfs"
      return 1
    fi
  done
  inst_binary hvdump-capture
  inst_binary date
  inst_binary sync
  inst_script /usr/sbin/hvdump-kdump /usr/bin/hvdump-kdump
  [ ! -e "$policy" ] || inst_simple "$policy" /etc/hvdump/policy.json
  [ ! -e "$config" ] || inst_simple "$config" /etc/hvdump/kdump.conf
}
