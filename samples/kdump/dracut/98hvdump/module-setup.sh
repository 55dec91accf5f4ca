#!/bin/bash
# dracut module: hvdump-capture and its policy for the capture kernel's initramfs.

check() {
  local file
  require_binaries hvdump-capture hvdump-kdump || return 1
  # Here, for dracut makes an image without us when install() fails.
  for file in "${HVDUMP_POLICY:-/etc/hvdump/policy.json}" "${HVDUMP_CONFIG:-/etc/hvdump/kdump.conf}"; do
    if [ -e "$file" ] && grep -qi 'AGE-SECRET-KEY-' "$file"; then
      dfatal "$file holds a private key: only recipients belong into the initramfs"
      return 1
    fi
  done
  return 255  # only when asked for
}

depends() {
  echo kdumpbase
}

install() {
  local policy=${HVDUMP_POLICY:-/etc/hvdump/policy.json} config=${HVDUMP_CONFIG:-/etc/hvdump/kdump.conf}
  inst_multiple hvdump-capture hvdump-kdump date sleep sync
  [ ! -e "$policy" ] || inst_simple "$policy" /etc/hvdump/policy.json
  [ ! -e "$config" ] || inst_simple "$config" /etc/hvdump/kdump.conf
}
