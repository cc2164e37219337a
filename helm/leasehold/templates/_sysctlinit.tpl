{{/*
Forwarding for the families in the pool.  Not privileged: /proc/sys itself is read-only in a
container, but a mount of the node's /proc/sys/net elsewhere is not, and there CAP_NET_ADMIN suffices.
IPv6 forwarding ("all": the kernel asks for that one) makes the kernel drop default routes that it
learnt from router advertisements, so the container refuses where there is one (RTF_ADDRCONF).
*/}}
{{- define "leasehold.sysctlInit" -}}
{{- $pool := join "," .Values.pool -}}
- name: forwarding
  image: {{ .Values.sysctlInit.image | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command:
    - /bin/sh
    - -eu
    - -c
    - |
      set_to_1() {
        [ "$(cat "/node/net/$1")" = 1 ] && return
        echo 1 >"/node/net/$1"
        echo "net/$1 was off and is on now"
      }
      {{- if contains "." $pool }}
      set_to_1 ipv4/ip_forward
      {{- end }}
      {{- if contains ":" $pool }}
      if [ "$(cat /node/net/ipv6/conf/all/forwarding)" != 1 ]; then
        while read -r to length _ _ _ _ _ _ flags device; do
          if [ "$to/$length" = 00000000000000000000000000000000/00 ] &&
             [ $((0x$flags & 0x40000)) -ne 0 ]; then
            echo "the default route of $device comes from router advertisements and forwarding" \
              "would drop it: set net.ipv6.conf.$device.accept_ra=2 and" \
              "net.ipv6.conf.all.forwarding=1 on the node" >&2
            exit 1
          fi
        done </proc/net/ipv6_route
        set_to_1 ipv6/conf/all/forwarding
      fi
      {{- end }}
  securityContext:
    runAsUser: 0
    runAsGroup: 0
    privileged: false
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop: [ALL]
      add: [NET_ADMIN]
    seccompProfile:
      type: RuntimeDefault
  volumeMounts:
    - name: sysctl-net
      mountPath: /node/net
{{- end }}
