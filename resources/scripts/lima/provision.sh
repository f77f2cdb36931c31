# lima/provision: makes the Lima VM a Linux side. Runs as root: by Lima at each boot, and by mvm where the VM was made by an
# older one. Safe to repeat. No braces in pairs in here, nor in what comes before: Lima reads it as a template.
# In: LIMA_USER, PROVISION (a number, raised with each change), "$@" an administrator's command lines. Out: RESTART yes|no.
: "${LIMA_USER:?}" "${PROVISION:?}"
mark=/etc/mvm-provisioned
# Lima's own is 077, and everyone reads the mark.
umask 022
if [[ -e $mark ]] && (($(<"$mark") >= PROVISION)); then
  answer RESTART no
  exit 0
fi
trap 'touch /run/mvm-provision-failed; answer FAILED "line $LINENO: $BASH_COMMAND"' ERR
step 'Provisioning the Lima VM'

# The SSH connection that Lima keeps is older than its user's new group, so everyone in the VM may use KVM.
groupadd -rf kvm
usermod -aG kvm "$LIMA_USER"
printf '%s\n' 'KERNEL=="kvm", GROUP="kvm", MODE="0666"' >/etc/udev/rules.d/99-mvm.rules
udevadm control --reload 2>/dev/null || true
[[ ! -e /dev/kvm ]] || chmod 0666 /dev/kvm

# Its systemd stays without a login, so that machines may have scopes of it (cell/cell.sh).
loginctl enable-linger "$LIMA_USER" 2>/dev/null || true

for line in "$@"; do
  detail "$line"
  # Another apt may be at work, as it is just after a boot.
  bash -c "${line/apt-get /apt-get -o DPkg::Lock::Timeout=300 }" </dev/null
done

# Under Apple's nested virtualization, guests of the VM may hang idle without the first three; Ubuntu's images say nothing on
# the console that vz keeps without the fourth; and a VM that was not shut down should mend its disk by itself.
restart=no
vendor=''
{ IFS= read -r vendor </sys/class/dmi/id/sys_vendor; } 2>/dev/null || true
if [[ $vendor == Apple* && -d /etc/default/grub.d ]]; then
  options='kvm-arm.vgic_v3_group0_trap=1 kvm-arm.vgic_v3_group1_trap=1 kvm-arm.vgic_v3_common_trap=1 console=hvc0 fsck.repair=yes'
  # shellcheck disable=SC2016 # for update-grub to expand
  printf 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX %s"\n' "$options" >/etc/default/grub.d/90-mvm.cfg
  update-grub
  [[ $(</proc/cmdline) == *vgic_v3_common_trap* ]] || restart=yes
fi
rm -f /run/mvm-provision-failed
printf '%s\n' "$PROVISION" >"$mark"
[[ $restart == no ]] || touch /run/mvm-restart
answer RESTART "$restart"
