{{/* Names are fixed: one agent per node, so one release per cluster. */}}
{{- define "leasehold.selectorLabels" -}}
app.kubernetes.io/name: leasehold
{{- end }}

{{- define "leasehold.labels" -}}
{{ include "leasehold.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "leasehold.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* ADDR:PORT as --http-address takes it: [2001:db8::1]:7480, 127.0.0.1:7480 or :7480. */}}
{{- define "leasehold.httpAddress" -}}
{{- if contains ":" .Values.http.address -}}
[{{ .Values.http.address }}]:{{ .Values.http.port }}
{{- else -}}
{{ .Values.http.address }}:{{ .Values.http.port }}
{{- end -}}
{{- end }}

{{/* Where the kubelet, on the same host network, reaches it. */}}
{{- define "leasehold.probeHost" -}}
{{- if has .Values.http.address (list "" "0.0.0.0") -}}
127.0.0.1
{{- else if eq .Values.http.address "::" -}}
::1
{{- else -}}
{{ .Values.http.address }}
{{- end -}}
{{- end }}

{{/* What the schema cannot say, or cannot say well. */}}
{{- define "leasehold.check" -}}
{{- if not .Values.pool }}
{{- fail "\n\npool is empty: say which addresses Leasehold may give to Services, for example\n  --set 'pool={203.0.113.10-203.0.113.50}'\n" }}
{{- end }}
{{- if eq .Values.sysctl "manage" }}
{{- fail "\n\nsysctl: manage cannot work in a Pod, where /proc/sys is read-only; use\n  --set sysctlInit.enabled=true\n" }}
{{- end }}
{{- if .Values.bgp.enabled }}
{{- if ne .Values.announce "bgp" }}
{{- fail "\n\nbgp.enabled needs announce: bgp; add\n  --set announce=bgp\n" }}
{{- end }}
{{- if not .Values.bgp.image }}
{{- fail "\n\nbgp.image is empty: name an image with BIRD 2 (docs/bgp.md says how to build one)\n" }}
{{- end }}
{{- if not (or .Values.bgp.peers .Values.bgp.config) }}
{{- fail "\n\nbgp.peers is empty: say which routers the nodes speak to, for example\n  --set 'bgp.peers[0].address=192.0.2.1,bgp.peers[0].asn=64513'\n" }}
{{- end }}
{{- end }}
{{- end }}

{{/* What BIRD may export, as JSON: {"list": [CIDR, ...]}. */}}
{{- define "leasehold.bgpPrefixes" -}}
{{- $list := .Values.bgp.prefixes -}}
{{- if not $list -}}
{{- $list = list -}}
{{- range .Values.pool -}}
{{- if contains "-" . -}}
{{- fail (printf "\n\npool has the range %s, and BIRD knows prefixes alone: say what it may export, for example\n  --set 'bgp.prefixes={203.0.113.0/24}'\n" .) -}}
{{- end -}}
{{- $list = append $list (contains "/" . | ternary . (printf "%s/%s" . (contains ":" . | ternary "128" "32"))) -}}
{{- end -}}
{{- end -}}
{{- toJson (dict "list" $list) -}}
{{- end }}

{{/* BIRD 2's configuration: the VIPs on lo, to the routers; nothing is taken from them. */}}
{{- define "leasehold.bird" -}}
{{- if .Values.bgp.config -}}
{{ .Values.bgp.config }}
{{- else -}}
{{- $four := list -}}
{{- $six := list -}}
{{- range (include "leasehold.bgpPrefixes" . | fromJson).list -}}
{{- if contains ":" . -}}{{- $six = append $six (printf "%s{128,128}" .) -}}{{- else -}}{{- $four = append $four (printf "%s{32,32}" .) -}}{{- end -}}
{{- end -}}
log stderr { info, remote, warning, error, auth, fatal, bug };
protocol device {}
{{- if .Values.bgp.bfd }}
protocol bfd {
	interface "*" { interval 300 ms; multiplier 3; };
}
{{- end }}
filter is_vip {
{{- with $four }}
	if net.type = NET_IP4 && net ~ [ {{ join ", " . }} ] then accept;
{{- end }}
{{- with $six }}
	if net.type = NET_IP6 && net ~ [ {{ join ", " . }} ] then accept;
{{- end }}
	reject;
}
protocol direct vips {
	interface "lo";
	ipv4 { import filter is_vip; };
	ipv6 { import filter is_vip; };
}
{{- range $i, $peer := .Values.bgp.peers }}
protocol bgp router{{ add1 $i }} {
	local as {{ int64 $.Values.bgp.asn }};
	neighbor {{ $peer.address }} as {{ int64 $peer.asn }};
	{{- with $peer.multihop }}
	multihop {{ . }};
	{{- end }}
	hold time {{ $.Values.bgp.holdTime }};
	connect retry time 5;
	{{- if and $.Values.bgp.bfd (not $peer.multihop) }}
	bfd on;
	{{- end }}
	{{ contains ":" $peer.address | ternary "ipv6" "ipv4" }} { import none; export where proto = "vips"; };
}
{{- end }}
{{- end -}}
{{- end }}

{{/* The agent's configuration file.  Keys are the flags' names; toJson quotes what needs quoting. */}}
{{- define "leasehold.config" -}}
pool: {{ toJson .Values.pool }}
{{- with .Values.interface }}
interface: {{ toJson . }}
{{- end }}
{{- with .Values.interfaceFor }}
interface-for: {{ toJson . }}
{{- end }}
{{- if not (kindIs "invalid" .Values.interfaceExclude) }}
interface-exclude: {{ toJson .Values.interfaceExclude }}
{{- end }}
{{- if ne .Values.interfaceMode "first" }}
interface-mode: {{ .Values.interfaceMode }}
{{- end }}
{{- if ne .Values.interfaceSubnet "strict" }}
interface-subnet: {{ .Values.interfaceSubnet }}
{{- end }}
{{- with .Values.apiServers }}
api-server: {{ toJson . }}
{{- end }}
{{- with .Values.leaseDuration }}
lease-duration: {{ . }}
{{- end }}
renew-interval: {{ .Values.renewInterval }}
on-api-loss: {{ .Values.onApiLoss }}
groups: {{ .Values.groups }}
{{- if eq .Values.announce "arp" }}
gate: {{ .Values.gate | ternary "on" "off" | quote }}
{{- end }}
source-nat: {{ .Values.sourceNat }}
load-balancer-class: {{ toJson .Values.loadBalancerClass }}
default-class: {{ .Values.defaultClass }}
dataplane: {{ .Values.dataplane }}
announce: {{ .Values.announce }}
{{- if eq .Values.announce "bgp" }}
drain-time: {{ .Values.drainTime }}
{{- end }}
{{- if ne (int .Values.announceRate) 1250 }}
announce-rate: {{ int .Values.announceRate }}
{{- end }}
{{- if ne (int .Values.conflictProbeRate) 100 }}
conflict-probe-rate: {{ int .Values.conflictProbeRate }}
{{- end }}
ip-mode: {{ .Values.ipMode }}
unmatched-ports: {{ .Values.unmatchedPorts }}
counters: {{ .Values.counters | ternary "on" "off" | quote }}
forward-mark: {{ .Values.forwardMark | quote }}
{{- with .Values.vip }}
vip: {{ toJson . }}
vip-port: {{ $.Values.vipPort }}
{{- end }}
{{- with .Values.routerInterface }}
router-interface: {{ toJson . }}
{{- end }}
{{- with .Values.routerAllow }}
router-allow: {{ toJson . }}
{{- end }}
{{- with .Values.routerAdmin }}
router-admin: {{ toJson . }}
{{- end }}
sysctl: {{ .Values.sysctl }}
http-address: {{ include "leasehold.httpAddress" . | toJson }}
state-dir: {{ toJson .Values.stateDir }}
daemonset: leasehold
{{- if .Values.realtime }}
realtime: true
{{- end }}
log-level: {{ .Values.logLevel }}
log-format: {{ .Values.logFormat }}
{{- end }}
