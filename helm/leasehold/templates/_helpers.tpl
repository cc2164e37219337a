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
{{- end }}

{{/* The agent's configuration file.  Keys are the flags' names; toJson quotes what needs quoting. */}}
{{- define "leasehold.config" -}}
pool: {{ toJson .Values.pool }}
{{- with .Values.interface }}
interface: {{ toJson . }}
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
